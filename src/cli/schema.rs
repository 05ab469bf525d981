//! `schema`: a JSON Schema of stack files, for editors.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Failure, Outcome, Run, Terminal};
use crate::stack::{Arity, OptionRow, OptionType, PluginKind, Preset, Registry};

/// Print a JSON Schema of stack files, for editors
///
/// Editors that read a first line like `#:schema ./stack.schema.json` then complete and check stack
/// files as they are written.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine schema > stack.schema.json")]
pub(super) struct Schema {}

impl Run for Schema {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let text = format!("{:#}", schema(registry));
        terminal.say(text)?;
        Ok(Outcome::Fine)
    }
}

fn schema(registry: &Registry) -> Value {
    let kinds: Vec<Value> = registry.kinds().map(layer).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Travertine stack file",
        "type": "object",
        "required": ["layer"],
        "additionalProperties": false,
        "properties": {
            "level": {
                "description": "the level of a commit that names none",
                "default": "disk",
                "anyOf": [
                    { "enum": ["memory", "os", "disk"] },
                    { "type": "string", "pattern": "^replicated\\([0-9]+\\)$" },
                ],
            },
            "reclaim": reclaim(),
            "test": {
                "description": "accept kinds that are there for tests only",
                "type": "boolean",
                "default": false,
            },
            "layer": { "$ref": "#/$defs/layers" },
            "stack": {
                "description": "sub-stacks by name",
                "type": "object",
                "additionalProperties": { "$ref": "#/$defs/layers" },
            },
        },
        "$defs": {
            "layers": {
                "description": "layers from top to bottom",
                "anyOf": [
                    { "$ref": "#/$defs/layer" },
                    { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/layer" } },
                ],
            },
            "layer": { "oneOf": kinds },
        },
    })
}

fn reclaim() -> Value {
    let mut schema = table(crate::config::reclaim::ROWS);
    schema["description"] = "give space back without being asked to".into();
    schema
}

fn layer(kind: &PluginKind) -> Value {
    let mut schema = table(kind.options);
    // Several are listed, one is the next layer; only where there is always one may that be a list.
    let (least, most) = match kind.arity {
        Arity::Many { min, max } => (min.max(2), max),
        Arity::Bottom | Arity::One => (1, 1),
    };
    let over = json!({
        "description": "the stacks below",
        "type": "array",
        "minItems": least,
        "maxItems": most,
        "items": { "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/layers" }] },
    });
    let fixed = [
        ("use", json!({ "const": kind.name })),
        (
            "name",
            json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" }),
        ),
    ];
    let over = (kind.arity != Arity::Bottom).then_some(("over", over));
    if let Some(properties) = schema["properties"].as_object_mut() {
        for (key, value) in fixed.into_iter().chain(over) {
            properties.insert(key.to_owned(), value);
        }
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.insert(0, "use".into());
        if matches!(kind.arity, Arity::Many { min, .. } if min > 1) {
            required.push("over".into());
        }
    }
    schema["description"] = kind.summary.into();
    schema
}

fn table(rows: &[OptionRow]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for row in rows {
        properties.insert(row.name.to_owned(), option(row));
        if matches!(row.preset, Preset::Required(_)) {
            required.push(Value::from(row.name));
        }
    }
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn option(row: &OptionRow) -> Value {
    let mut schema = match row.kind {
        OptionType::Size { .. } => json!({ "type": "string", "pattern": "^[0-9._]+ *[A-Za-z]+$" }),
        OptionType::Time { .. } => json!({ "type": "string", "pattern": "^[0-9._]+ *[A-Za-zµ]+$" }),
        OptionType::Integer { min, max } => {
            json!({ "type": "integer", "minimum": min, "maximum": max })
        }
        OptionType::Number { min, max } => {
            json!({ "type": "number", "minimum": min, "maximum": max })
        }
        OptionType::Flag => json!({ "type": "boolean" }),
        OptionType::Text | OptionType::Path | OptionType::Place => json!({ "type": "string" }),
        OptionType::Choice { words } => json!({ "enum": words }),
        OptionType::Table { rows } => table(rows),
    };
    schema["description"] = format!("{} ({})", row.doc, row.kind.describe()).into();
    let is_table = matches!(row.kind, OptionType::Table { .. });
    match row.preset {
        Preset::Is(text) if !is_table => schema["default"] = plain(row, text),
        Preset::Required(text) => schema["examples"] = json!([plain(row, text)]),
        _ => {}
    }
    schema
}

fn plain(row: &OptionRow, text: &str) -> Value {
    let written = row.kind.value_of(text).to_string();
    serde_json::from_str(&written).unwrap_or_else(|_| text.into())
}
