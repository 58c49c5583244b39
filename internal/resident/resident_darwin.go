package resident

import "golang.org/x/sys/unix"

func bytes() (int64, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return u.Maxrss, nil
}
