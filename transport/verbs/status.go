package verbs

// Status is how a work request ended: enum ibv_wc_status.
type Status int32

// The statuses.
const (
	Success Status = iota
	LocalLength
	LocalOperation
	LocalEEOperation
	LocalProtection
	Flushed
	MemoryWindowBind
	BadResponse
	LocalAccess
	RemoteInvalid
	RemoteAccess
	RemoteOperation
	RetriesExhausted
	NotReadyRetriesExhausted
	LocalRDDViolation
	RemoteInvalidRD
	RemoteAborted
	InvalidEEN
	InvalidEEState
	Fatal
	ResponseTimeout
	General
	TagMatching
	TagRendezvousIncomplete
)

var statusWords = []string{
	"success",
	"local length error: a message does not fit its buffer",
	"local queue pair operation error",
	"local EE context operation error",
	"local protection error: a buffer is not in registered memory",
	"flushed: the queue pair had failed before",
	"memory window bind error",
	"bad response from the peer",
	"local access error",
	"remote invalid request: the peer's buffer does not fit the message",
	"remote access error",
	"remote operation error",
	"retries exhausted: the peer's adapter does not answer",
	"retries exhausted: the peer had no buffer ready",
	"local RDD violation",
	"remote invalid RD request",
	"aborted by the peer",
	"invalid EE context number",
	"invalid EE context state",
	"fatal error of the adapter",
	"response timeout",
	"general error",
	"tag matching error",
	"tag matching rendezvous incomplete",
}

// String is the status in words.
func (s Status) String() string { return word(statusWords, int(s), "status") }
