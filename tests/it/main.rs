mod dialect_errors;
