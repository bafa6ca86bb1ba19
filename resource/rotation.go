package resource

import (
	"math"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/resource/channel"
)

// The bounds of rotations.
const (
	MinRotation  = time.Hour
	MaxGrace     = 90 * 24 * time.Hour
	MaxOldHashes = 8 // rotated secrets of one key that are in their grace
	maxRotation  = 10 * 365 * 24 * time.Hour
	maxTurns     = 8
	maxTime      = Time(math.MaxInt64)
)

// Deliver says how the owner of a key gets the secret that a rotation made.
type Deliver string

// The destinations of a new secret.
const (
	DeliverWebhook Deliver = "webhook"      // a signed request to URL
	DeliverPickUp  Deliver = "pickup"       // the owner fetches it once, with the old secret
	DeliverEmail   Deliver = "email"        // the owner gets a link, which shows it once
	DeliverStore   Deliver = "secret_store" // it is written to the setting rotation_store
)

// ByOwner says that the owner has to do something to get the secret.
func (d Deliver) ByOwner() bool { return d == DeliverPickUp || d == DeliverEmail }

// Rotation is the schedule by which a key gets a new secret. The old one stays until the new
// one is delivered, and for the grace after that.
type Rotation struct {
	Every   string  `json:"every"`           // "30d"; at least an hour, and longer than Grace
	Grace   string  `json:"grace,omitempty"` // how long the old secret stays valid after delivery
	Deliver Deliver `json:"deliver"`
	URL     string  `json:"url,omitempty"`   // of the webhook
	Email   string  `json:"email,omitempty"` // of the owner, for DeliverEmail
}

// NextSecret is a secret that waits to be delivered. It is valid already, for who gets it
// uses it before the cluster hears that he has it.
type NextSecret struct {
	Hash   Hash    `json:"hash"`
	Hint   string  `json:"hint,omitempty"`
	At     Time    `json:"at"` // it was made
	Sealed *Sealed `json:"-" cbor:"sealed,omitempty"`
	SentAt Time    `json:"sent_at,omitempty"` // the newest link to it; 0: none was sent
}

// Turn remembers a rotation that its client named, so that asking again makes no other secret.
type Turn struct {
	Op     Hash `json:"op"`     // of the client's name for it
	Before Hash `json:"before"` // of the secret that it replaced
}

// Interval is the time between two rotations; 0 if it cannot be read.
func (r *Rotation) Interval() time.Duration { return span(r.Every) }

// Keeps is how long the old secret stays valid; 0 if it cannot be read.
func (r *Rotation) Keeps() time.Duration { return span(r.Grace) }

func span(text string) time.Duration {
	d, err := ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}

// Check returns an *Invalid for a rotation that cannot be; signed says whether there is a
// rotation_key. Nil is no rotation.
func (r *Rotation) Check(signed bool) error {
	if r == nil {
		if signed {
			return invalidf("rotation_key", "signs nothing without a rotation that delivers to a webhook")
		}
		return nil
	}
	every, err := ParseDuration(r.Every)
	if err != nil || every < MinRotation || every > maxRotation {
		return invalidf("rotation.every", "%q is not a duration from 1h to 10 years such as 30d", r.Every)
	}
	if r.Grace != "" {
		grace, err := ParseDuration(r.Grace)
		if err != nil || grace < 0 || grace > MaxGrace {
			return invalidf("rotation.grace", "%q is not a duration up to 90d such as 24h", r.Grace)
		}
		if grace >= every {
			return invalidf("rotation.grace", "%s is not shorter than the %s between two rotations", r.Grace, r.Every)
		}
	}
	return r.checkDelivery(signed)
}

func (r *Rotation) checkDelivery(signed bool) error {
	if r.Email != "" && r.Deliver != DeliverEmail {
		return invalidf("rotation.email", "is for the destination email")
	}
	switch r.Deliver {
	case DeliverWebhook:
		if !signed {
			return invalidf("rotation_key", "is missing; a webhook is signed with it")
		}
		return validWebhook("rotation.url", r.URL)
	case DeliverPickUp, DeliverEmail, DeliverStore:
		if r.URL != "" {
			return invalidf("rotation.url", "is for a webhook")
		}
		if signed {
			return invalidf("rotation_key", "is for a webhook")
		}
		if r.Deliver == DeliverEmail && channel.Addresses("", []string{r.Email}) != nil {
			return invalidf("rotation.email", "%.100q is not an address such as ada@example.org", r.Email)
		}
		return nil
	case "":
		return invalidf("rotation.deliver", "is missing; say how the owner gets a new secret: webhook, email, secret_store or pickup")
	}
	return invalidf("rotation.deliver", "%q is not one of webhook, email, secret_store, pickup", r.Deliver)
}

// validWebhook demands TLS, but for this machine: the request carries a secret.
func validWebhook(field, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || len(text) > 2048 {
		return invalidf(field, "is not a URL such as https://hooks.example.org/keys")
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return invalidf(field, "is not https; a secret goes there")
	}
	return nil
}

// Stage puts a new secret beside the current one, to be delivered.
func (k *Key) Stage(n NextSecret) {
	k.Unstage()
	k.Next = &n
	k.OldHashes = append(slices.Clone(k.OldHashes), OldHash{Hash: n.Hash, Until: maxTime})
}

// Unstage forgets a secret that was not delivered.
func (k *Key) Unstage() {
	if k.Next == nil {
		return
	}
	staged := k.Next.Hash
	k.OldHashes = slices.DeleteFunc(slices.Clone(k.OldHashes), func(o OldHash) bool { return o.Hash == staged })
	if len(k.OldHashes) == 0 {
		k.OldHashes = nil
	}
	k.Next = nil
}

// Replace gives the key another secret at a time; the one before stays valid for the grace,
// and without one every older secret ends.
func (k *Key) Replace(hash Hash, hint string, at Time, grace time.Duration) error {
	k.Unstage()
	old := slices.DeleteFunc(slices.Clone(k.OldHashes), func(o OldHash) bool {
		return grace == 0 || o.Until <= at || o.Hash == hash
	})
	if grace > 0 && k.Hash != hash {
		old = append(old, OldHash{Hash: k.Hash, Until: at + Time(grace)})
	}
	if len(old) > MaxOldHashes {
		return invalidf("grace", "too many old secrets of this key are still valid; rotate without a grace to end them")
	}
	k.OldHashes, k.Hash, k.Hint, k.RotatedAt = old, hash, hint, at
	k.Schedule(at)
	return nil
}

// Schedule sets when the next rotation is due, counted from at.
func (k *Key) Schedule(at Time) {
	k.RotateAt = 0
	if k.Rotation != nil {
		k.RotateAt = at + Time(k.Rotation.Interval())
	}
}

// Remember notes a rotation that a client has named.
func (k *Key) Remember(t Turn) {
	k.Turns = append(slices.Clone(k.Turns), t)
	if n := len(k.Turns); n > maxTurns {
		k.Turns = k.Turns[n-maxTurns:]
	}
}
