//! Every `tamis` command of the README works, in the order it stands there.

use crate::support::{command, finish, root};

#[test]
fn commands_of_the_readme_work() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sample-data")).unwrap();
    for entry in std::fs::read_dir(root().join("sample-data")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join("sample-data").join(path.file_name().unwrap())).unwrap();
    }
    let block = readme.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let mut n_commands = 0;
    for line in block.lines() {
        let args = line.strip_prefix("tamis ").unwrap().split('#').next().unwrap();
        let mut tamis = command(dir.path());
        finish(tamis.args(args.split_whitespace())).expect_code(0);
        n_commands += 1;
    }
    assert_eq!(n_commands, 10);
}

#[test]
fn the_output_shown_is_the_output() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme.split("```\n$ cargo run --release -- ").nth(1).unwrap().split("```").next().unwrap();
    let (args, shown) = block.split_once('\n').unwrap();
    let dir = tempfile::tempdir().unwrap();
    let args: Vec<String> = args
        .split_whitespace()
        .map(|arg| arg.replace("sample-data/", &format!("{}/sample-data/", root().display())))
        .collect();
    let ended = finish(command(dir.path()).args(&args)).expect_code(0);
    // The first line tells seconds, threads and memory; one tells joules, which no two runs have alike.
    let rest = |text: &str| {
        let words = |line: &str| match line.strip_prefix("footprint: ") {
            Some(figures) => figures.rsplit(": ").next().unwrap().replace(|char: char| char.is_ascii_digit(), ""),
            None => line.to_owned(),
        };
        text.trim().lines().skip(1).map(words).collect::<Vec<_>>()
    };
    assert_eq!(rest(&ended.stdout), rest(shown));
}
