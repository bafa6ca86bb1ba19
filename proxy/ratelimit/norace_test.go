//go:build !race

package ratelimit

const schedules = 10_000
