//! Explores the model and prints what held: `travertine-model [mutations | NAME]`.
//!
//! Without an argument it explores the right rules in every setting. With `mutations` it shows that
//! each planted mistake is found, with the name of one, the run that finds it, and with the name of a
//! setting, what came of that one. The exit code is
//! 1 if a property does not hold or a mistake is not found, and 2 if the call is wrong.

use std::io::{self, Write};
use std::process::ExitCode;

use travertine_model::check::{Outcome, check};
use travertine_model::mutations::Mutation;
use travertine_model::setting::Setting;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let named = |name: &str| {
        Mutation::ALL
            .into_iter()
            .find(|it| format!("{it:?}") == name)
    };
    let held = match args.as_slice() {
        [] => explore(&mut io::stdout(), &Setting::full()),
        [word] if word == "mutations" => hunt(&mut io::stdout(), &Mutation::ALL, false),
        [word] => match named(word) {
            Some(mutation) => hunt(&mut io::stdout(), &[mutation], true),
            None => match Setting::full().into_iter().find(|it| it.name == word) {
                Some(setting) => explore(&mut io::stdout(), &[setting]),
                None => return usage(),
            },
        },
        _ => return usage(),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("cannot print: {error}");
            ExitCode::from(2)
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: travertine-model [mutations | NAME]");
    for mutation in Mutation::ALL {
        eprintln!("  {mutation:?}");
    }
    for setting in Setting::full() {
        eprintln!("  {:?}", setting.name);
    }
    ExitCode::from(2)
}

fn explore(out: &mut impl Write, settings: &[Setting]) -> io::Result<bool> {
    let mut all_held = true;
    for setting in settings {
        writeln!(out, "{setting}")?;
        let outcome = check(setting);
        writeln!(
            out,
            "  {} states, depth {}, all explored",
            outcome.states, outcome.depth
        )?;
        print_verdicts(out, &outcome)?;
        all_held &= outcome.holds();
    }
    Ok(all_held)
}

fn print_verdicts(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    for verdict in &outcome.verdicts {
        let kind = if verdict.is_always {
            "always"
        } else {
            "sometimes"
        };
        let word = match (verdict.is_always, verdict.holds) {
            (true, true) => "holds",
            (true, false) => "VIOLATED",
            (false, true) => "seen",
            (false, false) => "NEVER SEEN",
        };
        writeln!(out, "  {word:10} {kind}: {}", verdict.property)?;
        if verdict.is_always {
            verdict
                .run
                .iter()
                .try_for_each(|line| writeln!(out, "      {line}"))?;
        }
    }
    Ok(())
}

fn hunt(out: &mut impl Write, mutations: &[Mutation], with_run: bool) -> io::Result<bool> {
    let mut all_found = true;
    for mutation in mutations {
        let outcome = check(&mutation.setting());
        let wanted = mutation.found_by();
        let verdict = outcome
            .verdicts
            .iter()
            .find(|verdict| verdict.property == wanted);
        let found = verdict.filter(|verdict| !verdict.holds);
        let word = if found.is_some() {
            "found by"
        } else {
            "NOT FOUND by"
        };
        let name = format!("{mutation:?}");
        writeln!(
            out,
            "{name:22} {word} \"{wanted}\" in {} states",
            outcome.states
        )?;
        if let Some(verdict) = found.filter(|_| with_run) {
            verdict
                .run
                .iter()
                .try_for_each(|line| writeln!(out, "    {line}"))?;
        }
        all_found &= found.is_some();
    }
    Ok(all_found)
}
