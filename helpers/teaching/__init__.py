"""What notebooks teach with: ladders of kernels, epochs taken apart, gradient checks, exercises and their grader."""
