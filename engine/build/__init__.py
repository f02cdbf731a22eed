"""From a bundle to an engine directory that was proven on this device."""
