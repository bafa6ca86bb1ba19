package stored

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Page is OpenAI's list of items.
type Page struct {
	Object  string            `json:"object"`
	Data    []json.RawMessage `json:"data"`
	FirstID *string           `json:"first_id"`
	LastID  *string           `json:"last_id"`
	HasMore bool              `json:"has_more"`
}

const (
	defaultItems = 20
	mostItems    = 100
)

// InputItems lists what a response answered: the input of its turn and all turns before it. q has
// OpenAI's after, before, limit and order.
func (k *Keeper) InputItems(ctx context.Context, who *resource.Principal, id string, q url.Values) (*Page, error) {
	limit, err := limitOf(q.Get("limit"))
	if err != nil {
		return nil, err
	}
	t, err := k.findAny(ctx, who, id)
	if err != nil {
		return nil, notFound(err, id)
	}
	turns := []*turn{t}
	if t.Previous != "" {
		before, err := k.chain(ctx, nil, who, t.Previous)
		if err != nil {
			return nil, err
		}
		turns = append(before, t)
	}
	list, ids := listed(turns)
	switch q.Get("order") {
	case "", "desc":
		slices.Reverse(list)
		slices.Reverse(ids)
	case "asc":
	default:
		return nil, invalid("order", `must be "asc" or "desc"`)
	}
	from, to, err := window(ids, q.Get("after"), q.Get("before"))
	if err != nil {
		return nil, err
	}
	p := &Page{Object: "list", Data: []json.RawMessage{}, HasMore: to-from > limit}
	to = min(to, from+limit)
	if from < to {
		p.Data, p.FirstID, p.LastID = list[from:to], &ids[from], &ids[to-1]
	}
	return p, nil
}

func limitOf(text string) (int, error) {
	if text == "" {
		return defaultItems, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostItems {
		return 0, invalid("limit", fmt.Sprintf("must be 1 to %d", mostItems))
	}
	return n, nil
}

// window is what lies between two ids, either of which may be "".
func window(ids []string, after, before string) (from, to int, err error) {
	to = len(ids)
	if after != "" {
		if from = slices.Index(ids, after) + 1; from == 0 {
			return 0, 0, invalid("after", "is no id of an item of the list")
		}
	}
	if before != "" {
		if to = slices.Index(ids, before); to < 0 {
			return 0, 0, invalid("before", "is no id of an item of the list")
		}
	}
	return from, max(from, to), nil
}

// listed are the items with their ids, the first one first.
func listed(turns []*turn) (list []json.RawMessage, ids []string) {
	for i, t := range turns {
		for n, it := range t.Input {
			shown, id := withID(it, t.ID, n, true)
			list, ids = append(list, shown), append(ids, id)
		}
		if i == len(turns)-1 {
			break // its output is the answer itself
		}
		for n, it := range outputOf(t.Response) {
			shown, id := withID(it, t.ID, n, false)
			list, ids = append(list, shown), append(ids, id)
		}
	}
	return list, ids
}

// prefixes begin the ids of items by their types.
var prefixes = map[string]string{"message": "msg_", "function_call": "fc_", "function_call_output": "fco_", "reasoning": "rs_"}

// withID is an item as OpenAI lists it: with an id, a type, and its text as a part. One without an id gets that of its place.
func withID(it []byte, turn string, n int, input bool) (shown []byte, id string) {
	kind, role, text := "message", "", []byte(nil)
	c := llm.NewCursor(it)
	for at := 0; c.Member(at); at++ {
		switch string(c.Name()) {
		case "type":
			kind = c.Text()
		case "role":
			role = c.Text()
		case "id":
			id = c.Text()
		case "content":
			if c.Next() == '"' {
				text = c.Raw()
				continue
			}
			c.Raw()
		default:
			c.Raw()
		}
	}
	if id == "" {
		prefix, ok := prefixes[kind]
		if !ok {
			prefix = "item_"
		}
		id = itemID(prefix, turn, n, input)
	}
	set := []llm.Member{{Name: "id", Value: llm.AppendString(nil, id)}, {Name: "type", Value: llm.AppendString(nil, kind)}}
	if text != nil {
		part := `[{"type":"input_text","text":`
		if role == "assistant" {
			part = `[{"type":"output_text","annotations":[],"text":`
		}
		set = append(set, llm.Member{Name: "content", Value: append(append([]byte(part), text...), "}]"...)})
	}
	return with(it, set), id
}
