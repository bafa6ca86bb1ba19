package reply

import "net/http"

// Memory is a Writer that keeps the answer, for those who are no client of HTTP.
type Memory struct {
	Status int // 0: nothing was answered
	Body   []byte
	header http.Header
}

// Header implements Writer.
func (m *Memory) Header() http.Header {
	if m.header == nil {
		m.header = http.Header{}
	}
	return m.header
}

// Start implements Writer.
func (m *Memory) Start(status int) {
	if m.Status == 0 {
		m.Status = status
	}
}

// Write implements Writer.
func (m *Memory) Write(p []byte) (int, error) {
	m.Start(http.StatusOK)
	m.Body = append(m.Body, p...)
	return len(p), nil
}

// Flush implements Writer.
func (m *Memory) Flush() error { return nil }

// Started implements Writer.
func (m *Memory) Started() bool { return m.Status != 0 }
