package ratelimit

const (
	// span is the seconds that count: one more than 60, so that the second that a window of
	// 60 s cuts in two is counted whole.
	span  = 61
	slots = 64 // a power of two that leaves room for seconds to come
)

// ring counts the last minute, and up to two seconds to come.
type ring struct {
	second int64 // now
	sum    int64
	count  [slots]int64
}

// advance empties the seconds that have left the window. A clock that goes back stays.
func (r *ring) advance(second int64) {
	gap := second - r.second
	if gap <= 0 {
		return
	}
	if gap >= slots {
		r.count, r.sum = [slots]int64{}, 0
	} else {
		for s := r.second + 1; s <= second; s++ {
			i := (s - span) & (slots - 1)
			r.sum -= r.count[i]
			r.count[i] = 0
		}
	}
	r.second = second
}

// add counts n in the second, which is now or one of the next two.
func (r *ring) add(second, n int64) {
	second = max(r.second, min(second, r.second+2))
	i := second & (slots - 1)
	r.count[i] += n
	r.sum += n
}

// sub takes up to n out of the second, if that still counts.
func (r *ring) sub(second, n int64) {
	if second <= r.second-span || second > r.second+2 {
		return
	}
	i := second & (slots - 1)
	n = min(n, r.count[i])
	r.count[i] -= n
	r.sum -= n
}

// restore sets what a second holds, unless it has left the window.
func (r *ring) restore(second, n int64) {
	second = min(second, r.second+2)
	if second <= r.second-span {
		return
	}
	i := second & (slots - 1)
	r.sum += n - r.count[i]
	r.count[i] = n
}

// after is how many seconds pass until n less are counted.
func (r *ring) after(second, n int64) int64 {
	for s := second - span + 1; s <= second+2; s++ {
		if n -= r.count[s&(slots-1)]; n <= 0 {
			return s + span - second
		}
	}
	return span
}
