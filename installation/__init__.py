"""What happens before the program is there: the build hook and the face nets it puts into the wheel."""
