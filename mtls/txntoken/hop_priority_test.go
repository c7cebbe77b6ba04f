package txntoken

import "testing"

func TestPriorityIsReadFromItsClaimAlone(t *testing.T) {
	const head = `{"iss":"a","aud":"b","iat":1,"exp":2`
	for text, want := range map[string]int64{`}`: 0, `,"pr":1}`: 1, `,"pr":2}`: 2, `,"pr":7}`: 7} {
		if c, err := parseHop([]byte(head + text)); err != nil || c.pr != want {
			t.Errorf("%s: %d, %v", text, c.pr, err)
		}
	}
	for _, text := range []string{`,"pr":1,"pr":2}`, `,"pr":-1}`, `,"pr":"1"}`, `,"pr":01}`} {
		if c, err := parseHop([]byte(head + text)); err == nil {
			t.Errorf("%s passes as %d", text, c.pr)
		}
	}
}
