//! The operator: `Celery` objects on Kubernetes. Its resources and reconcilers are not built yet.
