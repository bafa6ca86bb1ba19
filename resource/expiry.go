package resource

// The bounds of an Expiry, which are OpenAI's.
const (
	ExpiryAnchor = "created_at"
	MinExpiry    = 3600      // seconds
	MaxExpiry    = 2_592_000 // seconds: 30 days
)

// Expiry is when a file expires, in OpenAI's words.
type Expiry struct {
	Anchor  string `json:"anchor"`  // ExpiryAnchor
	Seconds int64  `json:"seconds"` // after that
}

func (e *Expiry) validate(field string) error {
	switch {
	case e == nil:
		return nil
	case e.Anchor != ExpiryAnchor:
		return invalidf(field+".anchor", "%q is not %s", e.Anchor, ExpiryAnchor)
	case e.Seconds < MinExpiry || e.Seconds > MaxExpiry:
		return invalidf(field+".seconds", "%d is not between %d and %d", e.Seconds, MinExpiry, MaxExpiry)
	}
	return nil
}
