//! Crashes of the engine on a log on the simulated disk.

#[cfg(test)]
mod regressions;
