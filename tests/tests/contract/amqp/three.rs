//! RabbitMQ 3.10.

use super::{Rabbit, Three};
use crate::cases::contract;
use crate::kept::keeping;

contract!(Rabbit<Three>);
keeping!(Three);
