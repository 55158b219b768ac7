"""Who calls whom, in order: what each command does from its first step to its last."""
