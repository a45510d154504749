"""Many runs as one thing: what a sweep's file says, what it will take, and how its runs are trained."""
