//go:build race

package ratelimit

// schedules are a tenth: a schedule is one goroutine, in which no race is to be found.
const schedules = 1000
