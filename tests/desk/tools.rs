//! Tools that a test needs and a machine may lack.

/// Whether a tool is there. If not, the test says so and passes, unless `TRAVERTINE_TOOLS` says that
/// it has to be there.
pub(crate) fn have(tool: &str, found: bool) -> bool {
    if !found {
        println!("skipped: needs {tool}");
        assert!(
            std::env::var_os("TRAVERTINE_TOOLS").is_none(),
            "{tool} is required here"
        );
    }
    found
}
