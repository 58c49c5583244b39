package calibrate

// work is not told by macOS, short of a privileged interface.
type work struct{}

func workNow() (work, error) { return work{}, nil }

// others is 0: unknown.
func others(_, _ work) float64 { return 0 }
