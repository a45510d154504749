"""Many runs as one thing: what a sweep's file says, and what it will take."""
