package placement

import "fmt"

// FormatBytes writes n for people, in binary units with one decimal: "1.5 GiB", "0.1 MiB".
func FormatBytes(n int64) string {
	const mib, gib, tib = 1 << 20, 1 << 30, 1 << 40
	f := float64(n)
	switch {
	case f >= 1023.95*gib:
		return fmt.Sprintf("%.1f TiB", f/tib)
	case f >= 1023.95*mib:
		return fmt.Sprintf("%.1f GiB", f/gib)
	}
	return fmt.Sprintf("%.1f MiB", f/mib)
}
