"""Line → batch → answer, in one thread per process."""
