"""Networks with a state that is handed from step to step."""
