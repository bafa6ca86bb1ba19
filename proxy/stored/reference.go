package stored

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// kindReference is an item of an input that names another by its id, as clients send what they believe to be stored.
const kindReference = "item_reference"

// itemID is the id of an item of a stored turn: what the answers have that the gateway translates, and what the lists of
// inputs show. Inputs have an "i" before their number.
func itemID(prefix, turn string, n int, input bool) string {
	kind := ""
	if input {
		kind = "i"
	}
	return fmt.Sprintf("%s%s_%s%d", prefix, strings.TrimPrefix(turn, "resp_"), kind, n)
}

// place is where an item stands.
type place struct {
	turn  string
	n     int
	input bool
}

// placeOf reads what itemID wrote.
func placeOf(id string) (p place, ok bool) {
	_, rest, _ := strings.Cut(id, "_")
	turn, number, ok := strings.Cut(rest, "_")
	number, p.input = strings.CutPrefix(number, "i")
	n, err := strconv.Atoi(number)
	p.turn, p.n = "resp_"+turn, n
	return p, ok && err == nil && n >= 0 && resource.ValidResponseID(p.turn)
}

// finder finds the items that a request refers to.
type finder struct {
	k      *Keeper
	memory *Memory
	who    *resource.Principal
	model  string
	turns  map[string]*turn // that were looked up; nil: there is none
	size   int
}

// referred is a request with the items in the place of their references. One that is not there, or not the principal's,
// stays as it is: the provider may keep it.
func (f *finder) referred(ctx context.Context, body, input []byte) ([]byte, error) {
	if !bytes.Contains(input, []byte(kindReference)) || len(input) == 0 || input[0] != '[' {
		return body, nil
	}
	b, found := []byte{'['}, false
	for _, it := range items(input) {
		id, ok := reference(it)
		if !ok {
			b = append(llm.AppendComma(b), it...)
			continue
		}
		whole, there, err := f.find(ctx, id)
		if err != nil {
			return nil, err
		}
		if !there {
			whole = it
		}
		found = found || there
		if whole != nil {
			b = append(llm.AppendComma(b), whole...)
		}
	}
	if !found {
		return body, nil
	}
	return with(body, []llm.Member{{Name: memberInput, Value: append(b, ']')}}), nil
}

// reference is the id that an item refers to; false: it is another item.
func reference(it []byte) (id string, ok bool) {
	c := llm.NewCursor(it)
	for n := 0; c.Member(n); n++ {
		switch name := string(c.Name()); {
		case name == "type" && c.Next() == '"':
			ok = c.Text() == kindReference
		case name == "id" && c.Next() == '"':
			id = c.Text()
		default:
			c.Raw()
		}
	}
	return id, ok && id != ""
}

// find returns an item as one of an input; nil if it does not go back to the model that is asked.
func (f *finder) find(ctx context.Context, id string) (it []byte, there bool, err error) {
	if t, it := f.memory.item(id); it != nil {
		return sentBack(it, t.Model == f.model), true, nil
	}
	p, ok := placeOf(id)
	if !ok {
		return nil, false, nil
	}
	t, err := f.turn(ctx, p.turn)
	if err != nil || t == nil {
		return nil, false, err
	}
	if p.input {
		if p.n >= len(t.Input) {
			return nil, false, nil
		}
		return t.Input[p.n], true, nil
	}
	made := outputOf(t.Response)
	if p.n >= len(made) || idOf(made[p.n]) != "" && idOf(made[p.n]) != id {
		return nil, false, nil
	}
	return sentBack(made[p.n], t.Model == f.model), true, nil
}

// turn returns a stored turn, nil if there is none.
func (f *finder) turn(ctx context.Context, id string) (*turn, error) {
	if t, known := f.turns[id]; known {
		return t, nil
	}
	t, err := f.k.find(ctx, f.who, id)
	if err != nil && !errors.Is(err, resource.ErrNotFound) {
		return nil, err
	}
	if f.turns == nil {
		f.turns = make(map[string]*turn)
	}
	f.turns[id] = t
	if t != nil {
		f.size += t.size()
	}
	if len(f.turns) > maxTurns || f.size > maxChain {
		return nil, tooLong(memberInput)
	}
	return t, nil
}

// outputOf are the items of a response.
func outputOf(response []byte) (list []json.RawMessage) {
	c := llm.NewCursor(response)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "output" {
			c.Raw()
			continue
		}
		for at := 0; c.Element(at); at++ {
			list = append(list, c.Raw())
		}
	}
	return list
}
