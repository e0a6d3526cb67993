//! A DAG for Airflow 2 and 3.

use tamis_pipeline::Error;

use super::{Job, quoted, shell_command};
use crate::schedule::fields::Fields;

pub(super) fn text(job: &Job<'_>, fields: &Fields) -> Result<String, Error> {
    let command = shell_command(&job.words_here());
    let command = match job.delay() {
        Some(delay) => format!("{delay} && exec {command}"),
        None => format!("exec {command}"),
    };
    // Airflow renders commands with Jinja, and takes one that ends in .sh for the name of a file.
    let command = format!("{{% raw %}}{command}{{% endraw %}} ");
    let timeout = job.longest().map_or_else(String::new, |longest| {
        format!("        execution_timeout=timedelta(seconds={}),\n", longest.as_secs())
    });
    let imports = if timeout.is_empty() { "" } else { "from datetime import timedelta\n\n" };
    Ok(format!(
        "{imports}import pendulum
from airflow import DAG

try:
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:  # Airflow 2
    from airflow.operators.bash import BashOperator

with DAG(
    dag_id={name},
    schedule={cron},
    start_date=pendulum.datetime(2024, 1, 1, tz={timezone}),
    catchup=False,
    max_active_runs=1,
):
    BashOperator(
        task_id=\"run\",
        bash_command={command},
        cwd={folder},
        env={{\"TAMIS_RUN_ID\": \"{{{{ run_id }}}}\"}},
        append_env=True,
        # another run is writing to the output
        skip_on_exit_code=75,
{timeout}    )
",
        name = quoted(&job.name()),
        cron = quoted(&fields.cron(job.schedule)?),
        timezone = quoted(job.schedule.timezone.name()),
        command = quoted(&command),
        folder = quoted(&job.folder.display().to_string()),
    ))
}
