"""What the suite costs, beside what it must beat in the same run."""
