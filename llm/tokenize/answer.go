package tokenize

import (
	"errors"

	"github.com/conclave-llm/conclave/llm/chat"
)

// MaxAnswer bounds the text that an Answer keeps, in bytes.
const MaxAnswer = 256 << 10

// errLost says that an Answer has not all of the text.
var errLost = errors.New("the answer was not kept whole")

// Answer is what a model wrote, kept on its way to be counted: texts, reasoning, refusals, the names of calls and their
// arguments. The zero value has nothing. It is not safe for concurrent use.
type Answer struct {
	runs []run
	size int
	lost bool
}

// run is one text, whose pieces come one by one.
type run struct {
	typ          chat.ChunkType
	choice, call int
	text         []byte
}

// Add takes the next chunk.
func (a *Answer) Add(k *chat.Chunk) {
	text := k.Text
	switch k.Type {
	case chat.ChunkToolStart:
		text = k.Name
	case chat.ChunkText, chat.ChunkReasoning, chat.ChunkRefusal, chat.ChunkToolArgs:
	default:
		return
	}
	if a.lost || len(text) > MaxAnswer-a.size {
		a.Lose()
		return
	}
	a.size += len(text)
	r := a.run(k)
	r.text = append(r.text, text...)
}

// AddWhole takes an answer that came whole.
func (a *Answer) AddWhole(r *chat.Response) {
	chunks := chat.Chunks(nil, r)
	for i := range chunks {
		a.Add(&chunks[i])
	}
}

// Lose says that a part of the answer cannot be had: nothing is kept any more.
func (a *Answer) Lose() { *a = Answer{lost: true} }

// run is the text that a chunk goes on with, which is mostly the last.
func (a *Answer) run(k *chat.Chunk) *run {
	for i := len(a.runs) - 1; i >= 0; i-- {
		if r := &a.runs[i]; r.typ == k.Type && r.choice == k.Choice && r.call == k.Index {
			return r
		}
	}
	a.runs = append(a.runs, run{typ: k.Type, choice: k.Choice, call: k.Index})
	return &a.runs[len(a.runs)-1]
}

// Count counts the tokens of all texts.
func (a *Answer) Count(t Tokenizer) (int, error) {
	if a.lost {
		return 0, errLost
	}
	total := 0
	for i := range a.runs {
		n, err := t.Count(string(a.runs[i].text))
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}
