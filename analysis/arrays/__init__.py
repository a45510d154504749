"""Numbers from arrays: measures of features that no run is needed for."""
