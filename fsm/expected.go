package fsm

import "sync"

// Entry is a decoded entry of the log.
type Entry struct {
	Envelope
	Kind    Kind
	Command Command
	data    []byte // that it was decoded from
}

// Read is Decode of bytes that are about to go into the log: what it returns may be given to Expect.
func Read(data []byte) (*Entry, error) {
	env, kind, cmd, err := Decode(data)
	if err != nil {
		return nil, err
	}
	return &Entry{Envelope: env, Kind: kind, Command: cmd, data: data}, nil
}

// Expect has Apply use an entry as it was read, instead of decoding the same bytes again, the very ones that Raft hands on.
// The command must not be used any more. forget is to be called once the entry is applied, or will not be.
func (f *FSM) Expect(e *Entry) (forget func()) { return f.expected.add(e) }

// expected are the entries that were read before they went into the log, by where their bytes are. The zero value is
// empty; it is safe for concurrent use.
type expected struct {
	mu sync.Mutex
	by map[*byte]*Entry
}

func (x *expected) add(e *Entry) (forget func()) {
	at := &e.data[0]
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.by == nil {
		x.by = map[*byte]*Entry{}
	}
	x.by[at] = e
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.by, at)
	}
}

// decode gives the entry with these bytes: once as it was read, else decoded.
func (x *expected) decode(data []byte) (Envelope, Kind, Command, error) {
	if len(data) > 0 {
		x.mu.Lock()
		e := x.by[&data[0]]
		delete(x.by, &data[0])
		x.mu.Unlock()
		if e != nil && len(e.data) == len(data) {
			return e.Envelope, e.Kind, e.Command, nil
		}
	}
	return Decode(data)
}
