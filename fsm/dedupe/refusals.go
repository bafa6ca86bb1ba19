package dedupe

// maxRefusals is how many refusals are known by what they said: whoever tries again does so soon.
const maxRefusals = 1024

// Refusals are what the last refused commands were told, as this process applied them. The zero value is
// empty. They are no part of the state, and are gone after a restart; it is not safe for concurrent use.
type Refusals struct {
	said map[[16]byte]error
	ring [maxRefusals][16]byte
	next int
}

// Add keeps what the command with the id was told.
func (r *Refusals) Add(id [16]byte, err error) {
	if r.said == nil {
		r.said = make(map[[16]byte]error, maxRefusals)
	}
	delete(r.said, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % maxRefusals
	r.said[id] = err
}

// Said is what the command with the id was told, or else if that is not known any more.
func (r *Refusals) Said(id [16]byte, otherwise error) error {
	if err, ok := r.said[id]; ok {
		return err
	}
	return otherwise
}
