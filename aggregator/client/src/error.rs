//! What can go wrong between a client and an aggregator, in words for a person. It decides nothing about retries but
//! whether one could help.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::time::Duration;
use std::{fmt, io};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::Address;

/// Why a call or a stream failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection could be made.
    #[error("cannot reach the aggregator at {address}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: Address,
        /// What the operating system or the resolver said, such as `connection refused`.
        reason: String,
    },
    /// Something listens there that is no aggregator.
    #[error(
        "what listens at {address} does not speak gRPC ({reason}); is it another program, such as Flower?"
    )]
    NotGrpc {
        /// Where it listens.
        address: Address,
        /// What it did.
        reason: String,
    },
    /// The connection broke while a call or a stream was open.
    #[error("the connection to the aggregator at {address} broke: {reason}")]
    Broken {
        /// The aggregator.
        address: Address,
        /// What was seen of it.
        reason: String,
    },
    /// No answer came in time.
    #[error("the aggregator at {address} gave no answer within {} s", .deadline.as_secs_f64())]
    Deadline {
        /// The aggregator.
        address: Address,
        /// How long was waited.
        deadline: Duration,
    },
    /// The aggregator answered with an error.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The aggregator broke its own contract.
    #[error("the aggregator at {address} sent an answer that cannot be right: {reason}")]
    Contract {
        /// The aggregator.
        address: Address,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// An error that the aggregator itself gave, with its details (AIP-193).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// The aggregator's sentence.
    pub message: String,
    /// `ErrorInfo.reason`, a stable identifier. Absent when none was given.
    pub reason: Option<String>,
    /// `ErrorInfo.metadata`.
    pub metadata: BTreeMap<String, String>,
    /// `BadRequest`: which fields are wrong, and how.
    pub violations: Vec<Violation>,
    /// `RetryInfo`: not to be asked again before.
    pub retry_after: Option<Duration>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, such as `filter`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Error {
    /// Whether the same call may succeed later without any change. NOT a licence to repeat anything but reads.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Deadline { .. } => true,
            Self::Refused(refusal) => refusal.code == Code::Unavailable,
            Self::NotGrpc { .. } | Self::Contract { .. } => false,
        }
    }

    /// The gRPC code that fits best; bounded, so it can be a metric label.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => Code::Unavailable,
            Self::Deadline { .. } => Code::DeadlineExceeded,
            Self::NotGrpc { .. } => Code::Unimplemented,
            Self::Contract { .. } => Code::Internal,
            Self::Refused(refusal) => refusal.code,
        }
    }

    /// Tells the aggregator's own errors from those that tonic makes of transport failures: only the latter have a
    /// source, or stand for an HTTP answer without a gRPC status.
    pub(crate) fn from_status(status: &Status, address: &Address, deadline: Duration) -> Self {
        let address = address.clone();
        if let Some(http) = status.message().strip_prefix(NO_GRPC_STATUS)
            && status.code() != Code::Unavailable
        {
            let reason = format!("it answered with HTTP status {}", http.trim());
            return Self::NotGrpc { address, reason };
        }
        let Some(source) = status.source() else {
            if status.code() == Code::DeadlineExceeded {
                return Self::Deadline { address, deadline };
            }
            return Self::Refused(Box::new(Refusal::from_status(status)));
        };
        let failure = Failure::of(source);
        if failure.timed_out_call {
            Self::Deadline { address, deadline }
        } else if failure.not_http2 {
            Self::NotGrpc {
                address,
                reason: failure.reason,
            }
        } else if status.code() == Code::Unavailable {
            Self::Unreachable {
                address,
                reason: failure.reason,
            }
        } else {
            Self::Broken {
                address,
                reason: failure.reason,
            }
        }
    }
}

/// How tonic begins the message of a status that it made of a plain HTTP answer.
const NO_GRPC_STATUS: &str = "grpc-status header missing, mapped from HTTP status code";

/// What a chain of transport errors comes down to.
struct Failure {
    reason: String,
    timed_out_call: bool,
    not_http2: bool,
}

impl Failure {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut failure = Self {
            reason: error.to_string(),
            timed_out_call: false,
            not_http2: false,
        };
        let mut next = Some(error);
        while let Some(error) = next {
            failure.timed_out_call |= error.is::<tonic::TimeoutExpired>();
            failure.reason = match error.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
                Some(io::ErrorKind::ConnectionReset) => "connection reset".to_owned(),
                Some(io::ErrorKind::BrokenPipe) => "connection closed".to_owned(),
                Some(io::ErrorKind::TimedOut) => "the connection timed out".to_owned(),
                _ => error.to_string(),
            };
            // What h2 says when the first bytes are no HTTP/2 frame, as from a server that speaks HTTP/1 only.
            failure.not_http2 |= failure.reason.contains("frame with invalid size");
            next = error.source();
        }
        failure
    }
}

impl Refusal {
    fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let violations = details.bad_request().map(|bad| {
            let violation = |violation: &tonic_types::FieldViolation| Violation {
                field: violation.field.clone(),
                description: violation.description.clone(),
            };
            bad.field_violations.iter().map(violation).collect()
        });
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason: info
                .map(|info| info.reason.clone())
                .filter(|reason| !reason.is_empty()),
            metadata: info
                .map(|info| info.metadata.clone().into_iter().collect())
                .unwrap_or_default(),
            violations: violations.unwrap_or_default(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.message.is_empty(), self.code) {
            (true, code) => f.write_str(code.description())?,
            (false, Code::Internal | Code::Unknown | Code::DataLoss) => {
                write!(f, "the aggregator failed: {}", self.message)?;
            }
            (false, Code::Unimplemented) => {
                write!(f, "the aggregator does not offer this: {}", self.message)?;
            }
            (false, _) => f.write_str(&self.message)?,
        }
        for violation in &self.violations {
            if !self.message.contains(&violation.description) {
                write!(f, "; {}: {}", violation.field, violation.description)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn address() -> Address {
        "h:1".parse().expect("an address")
    }

    fn refused(status: &Status) -> Error {
        Error::from_status(status, &address(), Duration::from_secs(30))
    }

    #[test]
    fn the_aggregators_sentence_and_details_are_passed_on() {
        let mut details = ErrorDetails::new();
        details
            .add_bad_request_violation("filter", "unknown field `foo`; known are name, state")
            .set_error_info(
                "INVALID_FILTER",
                "celeriac",
                [("position".to_owned(), "4".to_owned())],
            );
        let status =
            Status::with_error_details(Code::InvalidArgument, "the filter cannot be read", details);
        let error = refused(&status);
        assert_eq!(
            error.to_string(),
            "the filter cannot be read; filter: unknown field `foo`; known are name, state"
        );
        let Error::Refused(refusal) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(refusal.reason.as_deref(), Some("INVALID_FILTER"));
        assert_eq!(refusal.metadata["position"], "4");
        assert!(!error.is_transient());
    }

    #[test]
    fn a_violation_that_the_message_holds_is_said_once() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("page_size", "page_size is negative");
        let status =
            Status::with_error_details(Code::InvalidArgument, "page_size is negative", details);
        assert_eq!(refused(&status).to_string(), "page_size is negative");
    }

    #[test]
    fn an_unavailable_aggregator_is_not_an_unreachable_one() {
        let error = refused(&Status::unavailable("replaying the journal, 12 s left"));
        assert_eq!(error.to_string(), "replaying the journal, 12 s left");
        assert!(error.is_transient());
        assert_eq!(error.code(), Code::Unavailable);
    }

    #[test]
    fn codes_without_a_sentence_still_say_something() {
        assert_eq!(
            refused(&Status::new(Code::PermissionDenied, "")).to_string(),
            "The caller does not have permission to execute the specified operation"
        );
        assert_eq!(
            refused(&Status::unimplemented("GetWorkflow")).to_string(),
            "the aggregator does not offer this: GetWorkflow"
        );
    }

    #[test]
    fn an_http_page_is_recognised() {
        let error = refused(&Status::unimplemented(format!("{NO_GRPC_STATUS} 404")));
        assert_eq!(
            error.to_string(),
            "what listens at http://h:1 does not speak gRPC (it answered with HTTP status 404); \
             is it another program, such as Flower?"
        );
    }
}
