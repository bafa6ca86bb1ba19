package reply

// maxKept bounds what is kept of an answer.
const maxKept = 1 << 20

// Listener is a Writer that keeps what passes.
type Listener struct {
	Writer
	Heard []byte
	Cut   bool // more passed than is kept
}

// Write implements reply.Writer.
func (l *Listener) Write(p []byte) (int, error) {
	room := maxKept - len(l.Heard)
	l.Heard = append(l.Heard, p[:min(room, len(p))]...)
	l.Cut = l.Cut || len(p) > room
	return l.Writer.Write(p)
}
