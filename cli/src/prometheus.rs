//! The text format in which Prometheus reads numbers.

use std::fmt::Display;

/// Families of numbers, each with what it means.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

impl Exposition {
    /// A family of values that go up and down. A sample has labels, one a pair, and a value.
    pub(crate) fn gauge<V: Display>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample<V>>) {
        self.family(name, help, "gauge", samples);
    }

    /// A family of values that only grow, as long as this process lives.
    pub(crate) fn counter<V: Display>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample<V>>) {
        self.family(name, help, "counter", samples);
    }

    /// A family of values that go up and down, each with several labels.
    pub(crate) fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (&'a [(&'static str, String)], f64)>,
    ) {
        self.text += &format!("# HELP {name} {help}\n# TYPE {name} gauge\n");
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            self.text += &format!("{name}{labels} {value}\n");
        }
    }

    fn family<V: Display>(&mut self, name: &str, help: &str, kind: &str, samples: impl IntoIterator<Item = Sample<V>>) {
        self.text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (label, value) in samples {
            let label = label.map_or_else(String::new, |(key, value)| format!("{{{key}=\"{}\"}}", escaped(&value)));
            self.text += &format!("{name}{label} {value}\n");
        }
    }

    /// All of it.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// A value, and the label that tells it from others of its family.
pub(crate) type Sample<V> = (Option<(&'static str, String)>, V);

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let mut exposition = Exposition::default();
        exposition.gauge("a_seconds", "How long.", [(Some(("run", "a\"b\\c\nd".to_owned())), 1.5)]);
        exposition.counter("b_total", "How many.", [(None, 2)]);
        let expect = "# HELP a_seconds How long.\n# TYPE a_seconds gauge\na_seconds{run=\"a\\\"b\\\\c\\nd\"} 1.5\n\
                      # HELP b_total How many.\n# TYPE b_total counter\nb_total 2\n";
        assert_eq!(exposition.into_text(), expect);
    }
}
