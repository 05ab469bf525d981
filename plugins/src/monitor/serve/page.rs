//! The page: one file, with nothing to load. What it shows comes by events; without scripts it is a table
//! of how things were when it was asked for.
//!
//! Names and messages are no markup: the table escapes them, the script only ever makes text of them, and
//! the policy that is sent along lets nothing run but that one script.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest;
use serde_json::Value;

use super::{PATIENCE, Served};

const PAGE: &str = include_str!("live.html");
/// Where the table goes.
const PLAIN: &str = "<!--plain-->";

/// Only what the page itself holds.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |tag: &str| {
        let inside = inside(tag);
        let digest = digest::digest(&digest::SHA256, inside.as_bytes());
        format!("'sha256-{}'", BASE64_STANDARD.encode(digest))
    };
    format!(
        "default-src 'none'; connect-src 'self'; img-src data:; script-src {}; style-src {}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style"),
    )
});

/// What lies in the one element of this name.
fn inside(tag: &str) -> &'static str {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let after = PAGE.split_once(&open).map_or("", |(_, after)| after);
    after.split_once(&close).map_or("", |(inside, _)| inside)
}

pub(super) async fn page(State(served): State<Served>) -> Response {
    let looked = served.look(PATIENCE).await;
    let told = served.figures.told(looked.as_deref());
    let page = PAGE.replacen(PLAIN, &plain(&told), 1);
    let head = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (head, page).into_response()
}

/// The figures as a table, for who runs no scripts.
fn plain(told: &Value) -> String {
    let mut table = String::new();
    let says = told["health"]["says"].as_str().unwrap_or_default();
    let _ = write!(table, "<p>Health: {}</p>", escape(says));
    table.push_str(
        "<table><tr><th>floor<th>verb<th>calls<th>bytes<th>failed<th>p50<th>p99<th>longest</tr>",
    );
    for floor in told["floors"].as_array().into_iter().flatten() {
        let text = |key: &str| floor[key].as_str().unwrap_or_default();
        let name = match text("name") {
            "" => text("kind").to_owned(),
            name => format!("{} {name:?}", text("kind")),
        };
        let depth = floor["depth"].as_u64().unwrap_or(0) as usize;
        let title = format!("{}{}", "· ".repeat(depth), escape(&name));
        if let Some(why) = floor["refusing"].as_str() {
            let why = escape(why);
            let _ = write!(table, "<tr><td>{title}<td colspan=7>{why}</tr>");
        }
        for (verb, of) in floor["verbs"].as_object().into_iter().flatten() {
            let number = |key: &str| of[key].as_u64().map_or("–".to_owned(), |n| n.to_string());
            let time = |key: &str| {
                let ns = of[key].as_u64();
                ns.map_or("–".to_owned(), |ns| {
                    format!("{:.1?}", std::time::Duration::from_nanos(ns))
                })
            };
            let errors = of["errors"].as_object().into_iter().flatten();
            let failed: u64 = errors.filter_map(|(_, count)| count.as_u64()).sum();
            let _ = write!(
                table,
                "<tr><td>{title}<td>{verb}<td>{}<td>{}<td>{failed}<td>{}<td>{}<td>{}</tr>",
                number("calls"),
                number("bytes"),
                time("p50_ns"),
                time("p99_ns"),
                time("max_ns"),
            );
        }
    }
    table.push_str("</table>");
    table
}

/// Text as it may stand in HTML; what would not be seen is shown by its number.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_loads_nothing_and_holds_one_script_and_one_style() {
        for tag in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert!(!inside(tag).is_empty());
        }
        assert_eq!(PAGE.matches(PLAIN).count(), 1);
        // The one address in it names the kind of a drawing.
        let addresses = PAGE.matches("//").count() - PAGE.matches("// ").count();
        assert_eq!(
            addresses,
            PAGE.matches("http://www.w3.org/2000/svg").count()
        );
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "eval(",
            "src=",
            "style=\"",
        ] {
            assert!(!PAGE.contains(word), "{word}");
        }
    }

    #[test]
    fn names_are_no_markup() {
        let name = "<script>alert('x')</script>\u{1b}[2J\n&\"";
        let verbs = json!({ "read": { "calls": 7, "errors": { "corrupt": 2 }, "p50_ns": 1500 } });
        let told = json!({
            "health": { "says": name },
            "floors": [{ "kind": "file", "name": name, "depth": 1, "refusing": name, "verbs": verbs }],
        });
        let table = plain(&told);
        assert!(
            !table.contains("<script") && !table.contains(char::is_control),
            "{table}"
        );
        assert!(
            table.contains("&lt;script&gt;alert(&#39;x&#39;)"),
            "{table}"
        );
        assert!(
            table.contains("<td>read<td>7<td>–<td>2<td>1.5µs"),
            "{table}"
        );
    }
}
