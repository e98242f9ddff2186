"""Safety outside the model: hotlines, the guard on what clients write, the check on what models answer, the policy."""
