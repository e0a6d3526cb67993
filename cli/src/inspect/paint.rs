//! Colors of a terminal.

use std::fmt::Display;
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

use crate::args::When;

/// What a piece of output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    /// Only in the kept text.
    Kept,
    /// Only in the dropped text.
    Dropped,
    /// What a rule is about.
    Marked,
    Title,
    Faint,
}

/// Whether colors are used. Nothing is told by them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    has_color: bool,
}

impl Paint {
    /// As asked for, or what fits standard output and the environment.
    pub(crate) fn new(when: When, to_stdout: bool) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let has_color = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => to_stdout && std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb,
        };
        Self { has_color }
    }

    /// The text in its color.
    pub(super) fn ink(self, ink: Ink, text: impl Display) -> String {
        let style = match ink {
            Ink::Plain => Style::new(),
            Ink::Kept => Style::new().fg_color(Some(AnsiColor::Red.into())),
            Ink::Dropped => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Ink::Marked => Style::new().fg_color(Some(AnsiColor::Yellow.into())).bold(),
            Ink::Title => Style::new().bold(),
            Ink::Faint => Style::new().dimmed(),
        };
        if self.has_color && style != Style::new() { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}
