//! Rate limits, time limits and the bounds of the autoscaler.

use celeriac_proto::v1;
use serde_json::{Value, json};
use tonic::Status;

use super::super::super::page::invalid;
use super::{PROCESSES_MAX, name};

/// Longest time limit: a year. A longer one is a mistake of units.
const TIME_LIMIT_MAX_SECONDS: f64 = 366.0 * 86_400.0;

/// `celery.utils.time.rate`: a number, per second unless `/s`, `/m` or `/h` follows.
pub(super) fn rate(asked: &v1::RateLimitCommand) -> Result<Value, Status> {
    let task_name = name("rate_limit.task_name", &asked.task_name)?;
    let text = asked.rate_limit.as_str();
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let digits = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let parsed = number
        .parse::<f64>()
        .ok()
        .filter(|rate| digits && rate.is_finite());
    let Some(rate) = parsed.filter(|_| matches!(unit, "s" | "m" | "h")) else {
        let description =
            format!("must be a number with /s, /m or /h, such as 10/m, or 0 for none, is {text:?}");
        return Err(invalid("rate_limit.rate_limit", description));
    };
    // A number 0 switches it off and says so; the text "0" does the same and says that a limit was set.
    let rate_limit = if rate == 0.0 { json!(0) } else { json!(text) };
    Ok(json!({"task_name": task_name, "rate_limit": rate_limit}))
}

pub(super) fn time(asked: &v1::TimeLimitCommand) -> Result<Value, Status> {
    let task_name = name("time_limit.task_name", &asked.task_name)?;
    let soft = seconds("time_limit.soft", asked.soft.as_ref())?;
    let hard = seconds("time_limit.hard", asked.hard.as_ref())?;
    if let (Some(soft), Some(hard)) = (soft, hard)
        && soft > hard
    {
        let description = format!(
            "must not be longer than the hard limit of {hard} s, which would always come first, is {soft} s"
        );
        return Err(invalid("time_limit.soft", description));
    }
    Ok(json!({"task_name": task_name, "hard": hard.map(number), "soft": soft.map(number)}))
}

fn seconds(field: &str, asked: Option<&prost_types::Duration>) -> Result<Option<f64>, Status> {
    let Some(asked) = asked else {
        return Ok(None);
    };
    let seconds = std::time::Duration::try_from(*asked).map_or(-1.0, |span| span.as_secs_f64());
    if seconds <= 0.0 || seconds > TIME_LIMIT_MAX_SECONDS {
        let description = format!(
            "must be above 0 and at most a year, is {} s; leave it out for no limit",
            asked.seconds
        );
        return Err(invalid(field, description));
    }
    Ok(Some(seconds))
}

/// Whole seconds as an integer, as people give them to Celery.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be a whole number below a year of seconds"
)]
fn number(seconds: f64) -> Value {
    if seconds.fract() == 0.0 {
        json!(seconds as i64)
    } else {
        json!(seconds)
    }
}

pub(super) fn autoscale(asked: v1::AutoscaleCommand) -> Result<Value, Status> {
    let v1::AutoscaleCommand { max, min } = asked;
    if !(1..=PROCESSES_MAX).contains(&max) {
        let description = format!("must be 1 to {PROCESSES_MAX}, is {max}");
        return Err(invalid("autoscale.max", description));
    }
    if !(0..=max).contains(&min) {
        let description = format!("must be 0 to max ({max}), is {min}");
        return Err(invalid("autoscale.min", description));
    }
    Ok(json!({"max": max, "min": min}))
}
