"""Many runs as one: numbers over seeds, at matched progress.

A run is summarised once (`summary`), runs are grouped into points (`points`), values are read off where arms had come
equally far (`matching`), and joined over seeds (`seeds`). `significance` looks at one run, in many places.
"""
