//! Celeriac on RabbitMQ with real Celery workers, and with processes that are killed at random.

mod kills;
mod product;
