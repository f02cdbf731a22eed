"""To ROS 2: faces, expressions and diagnostics as REP-155 (ROS4HRI) has them."""
