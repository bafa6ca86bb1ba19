package stored

import (
	"bytes"
	"slices"
	"sync"

	"github.com/conclave-llm/conclave/llm"
)

const (
	maxRemembered      = 32       // turns of a connection
	maxRememberedBytes = 32 << 20 // of all of them
)

// Memory remembers the last turns of one connection, whether they are stored or not, so that the
// next can go on from them. It may be used concurrently.
type Memory struct {
	mu    sync.Mutex // guards what follows
	turns []remembered
	size  int
}

type remembered struct {
	turn *turn
	size int
}

// find returns a turn, nil if it is not remembered.
func (m *Memory) find(id string) *turn {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.turns, func(r remembered) bool { return r.turn.ID == id })
	if i < 0 {
		return nil
	}
	return m.turns[i].turn
}

// item returns an item of the answers that are remembered, and its turn; nil if there is none with the id.
func (m *Memory) item(id string) (t *turn, it []byte) {
	if m == nil {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range slices.Backward(m.turns) {
		for _, made := range outputOf(r.turn.Response) {
			if idOf(made) == id {
				return r.turn, made
			}
		}
	}
	return nil, nil
}

// idOf is the id of an item or of an answer, "" if it has none.
func idOf(object []byte) (id string) {
	c := llm.NewCursor(object)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == "id" && c.Next() == '"' {
			id = c.Text()
		} else {
			c.Raw()
		}
	}
	if c.Err() != nil {
		return ""
	}
	return id
}

// put remembers a turn, and forgets those for which there is no room.
func (m *Memory) put(t *turn) {
	size := t.size()
	if size > maxRememberedBytes {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns = append(m.turns, remembered{t, size})
	m.size += size
	for len(m.turns) > maxRemembered || m.size > maxRememberedBytes {
		m.size -= m.turns[0].size
		m.turns = slices.Delete(m.turns, 0, 1)
	}
}

// remember keeps a turn in the memory of its connection: its whole conversation, so that no other
// turn is needed to go on from it.
func (x *Exchange) remember(request, answer []byte) {
	if x.memory == nil || len(answer) == 0 || answer[0] != '{' {
		return
	}
	id := idOf(answer)
	if id == "" {
		return
	}
	t := &turn{ID: id, Model: x.model, Response: bytes.Clone(answer)}
	for _, it := range items(inputOf(request)) {
		t.Input = append(t.Input, bytes.Clone(it))
	}
	x.memory.put(t)
}
