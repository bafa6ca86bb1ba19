package tick

// Step sends a tick, if there is any, as the Ticker's goroutine would.
func (t *Ticker) Step() {
	if next, round := t.next(true); next != nil {
		t.submit(next, round)
	}
}
