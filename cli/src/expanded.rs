//! Files that a shell made of a glob behind a flag that takes one: without a word, all but the first would be inputs.

use std::path::Path;

use clap::ArgMatches;
use tamis_pipeline::Error;

use crate::diagnostic;

/// Flags behind which people write a glob, with their command, and what their files are.
const FLAGS: [(&str, &str, &str); 4] = [
    ("dedup", "against", "held-out file"),
    ("select", "labels", "label file"),
    ("score", "labels", "label file"),
    ("score", "reference", "reference file"),
];

/// Looks at the inputs that stand directly behind the value of such a flag and lie beside it.
///
/// `--against held.jsonl in.jsonl` means what it says: there is no other input that it could be about. Two of them may be
/// a glob, which is said; with other inputs they are too likely one to be read as rows.
///
/// # Errors
/// `Error::Config` if there are other inputs too.
pub(crate) fn check(matches: &ArgMatches) -> Result<(), Error> {
    for (command, flag, what) in FLAGS {
        let Some(matches) = matches.subcommand_matches(command) else { continue };
        let inputs = placed(matches, "inputs");
        let behind: Vec<(&str, &str)> = placed(matches, flag)
            .into_iter()
            .flat_map(|(at, value)| behind(at, value, &inputs).map(move |input| (value, input)))
            .collect();
        let Some(&(value, first)) = behind.first() else { continue };
        let message = format!("`{first}` behind `--{flag} {value}` is an input, not a {what}");
        let hint = format!(
            "if a shell made both of one glob, quote the glob or repeat --{flag} before each file; name inputs before --{flag}"
        );
        if behind.len() < inputs.len() {
            return Err(Error::Config { message, hint: Some(hint) });
        }
        if behind.len() > 1 {
            diagnostic::warn(&message, &hint);
        }
    }
    Ok(())
}

/// The values of an argument and where they stand.
fn placed<'m>(matches: &'m ArgMatches, name: &str) -> Vec<(usize, &'m str)> {
    let values = matches.get_many::<String>(name).unwrap_or_default();
    matches.indices_of(name).unwrap_or_default().zip(values.map(String::as_str)).collect()
}

/// The inputs that follow the value at `at` without anything between, as long as they are of its folder.
fn behind<'i>(at: usize, value: &'i str, inputs: &'i [(usize, &'i str)]) -> impl Iterator<Item = &'i str> {
    let is_beside = move |input: &str| input != "-" && Path::new(input).parent() == Path::new(value).parent();
    (at + 1..).map_while(move |next| {
        inputs.iter().find(|(index, input)| *index == next && is_beside(input)).map(|input| input.1)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn what_a_shell_makes_of_a_glob_is_no_input() {
        let check = |args: &str, refused: Option<&str>| {
            let matches = Cli::command().try_get_matches_from(args.split(' ')).unwrap();
            let message = check(&matches).err().map(|error| error.to_string());
            let expect = refused.map(|expect| format!("{expect} is an input"));
            assert_eq!(message.is_some(), expect.is_some(), "{args}: {message:?}");
            assert!(message.zip(expect).is_none_or(|(message, expect)| message.contains(&expect)), "{args}");
        };
        check(
            "tamis dedup in.jsonl -o out --against h/0.jsonl h/1.jsonl h/2.jsonl",
            Some("`h/1.jsonl` behind `--against h/0.jsonl`"),
        );
        check(
            "tamis dedup --against h/0.jsonl h/1.jsonl in.jsonl -o out",
            Some("`h/1.jsonl` behind `--against h/0.jsonl`"),
        );
        check("tamis dedup a --against=h/0 h/1 -o out --against g/0 g/1", Some("`h/1` behind `--against h/0`"));
        check("tamis dedup a.txt -o out --against b.txt c.txt", Some("`c.txt` behind `--against b.txt`"));
        check(
            "tamis select in.jsonl -o out --budget 1 --labels l/0.csv l/1.csv",
            Some("`l/1.csv` behind `--labels l/0.csv`"),
        );
        for meant in [
            "tamis dedup --against held.jsonl in.jsonl -o out",
            "tamis dedup --against held.jsonl a.jsonl b.jsonl -o out",
            "tamis dedup --against h/0.jsonl --against h/1.jsonl in.jsonl -o out",
            "tamis dedup in.jsonl other.jsonl -o out --against held.jsonl",
            "tamis dedup in.jsonl --against held.jsonl -o out other.jsonl",
            "tamis dedup --against held/a.jsonl data/a.jsonl data/b.jsonl -o out",
            "tamis dedup --against held.jsonl - -o out",
            "tamis select --labels labels.csv in.jsonl -o out --budget 1",
            "tamis tune a b",
        ] {
            check(meant, None);
        }
    }
}
