//! A `CronJob` for Kubernetes, with the config in a `ConfigMap`.

use std::path::Path;

use tamis_pipeline::Error;

use super::{Job, quoted, shell_command};
use crate::schedule::fields::Fields;

pub(super) fn text(job: &Job<'_>, fields: &Fields) -> Result<String, Error> {
    let name = job.name();
    let words = job.words(Path::new("tamis"), Path::new("/etc/tamis/tamis.toml"));
    let words = match job.delay() {
        Some(delay) => vec!["sh".into(), "-c".into(), format!("{delay} && exec {}", shell_command(&words))],
        None => words,
    };
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let deadline = job
        .longest()
        .map_or_else(String::new, |longest| format!("      activeDeadlineSeconds: {}\n", longest.as_secs()));
    let lines = job.config_text.lines();
    let lines: Vec<String> =
        lines.map(|line| if line.is_empty() { String::new() } else { format!("    {line}") }).collect();
    // What a config map holds is fixed, and a forecast is not.
    let mention = |file: &&str| {
        format!(
            "              # the command reads {}: mount a volume at its folder, where something renews it\n",
            quoted(file)
        )
    };
    let files: String = job.files.iter().map(mention).collect();
    Ok(format!(
        "apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
data:
  tamis.toml: |2
{config}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
spec:
  schedule: {schedule}
  timeZone: {timezone}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: 2
{deadline}      podFailurePolicy:
        rules:
          # 1: finished with rejected rows, 2: config, input or loss guards, 77: credentials. Again would end the same.
          - action: FailJob
            onExitCodes:
              operator: In
              values: [1, 2, 3, 4, 77]
          # The node went away: that is no try. 69 (store unavailable) and 75 (output in use) are tried again.
          - action: Ignore
            onPodConditions:
              - type: DisruptionTarget
      template:
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: 30
          containers:
            - name: tamis
              # an image with tamis on its PATH
              image: tamis:{version}
              command: [{command}]
              env:
                - name: TAMIS_RUN_ID
                  valueFrom:
                    fieldRef:
                      fieldPath: metadata.uid
              # credentials: a service account, or a secret
              # envFrom:
              #   - secretRef:
              #       name: {name}
{files}              volumeMounts:
                - name: config
                  mountPath: /etc/tamis
                  readOnly: true
          volumes:
            - name: config
              configMap:
                name: {name}
",
        config = lines.join("\n"),
        schedule = quoted(&fields.cron(job.schedule)?),
        timezone = quoted(job.schedule.timezone.name()),
        version = env!("CARGO_PKG_VERSION"),
        command = words.join(", "),
    ))
}
