package config

import "github.com/goccy/go-yaml/token"

// joinScalars puts plain scalars together again that the lexer took apart: in a
// list within braces it takes the colon of {static: [10.0.0.1:80]} for that of
// a map, though no space follows it (YAML 1.2 section 7.3.3).
func joinScalars(tokens token.Tokens) token.Tokens {
	out := tokens[:0:0]
	var open []token.Type // brackets around the present token
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, t.Type)
		case token.SequenceEndType, token.MappingEndType:
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		case token.MappingValueType:
			inList := len(open) > 0 && open[len(open)-1] == token.SequenceStartType
			if !inList || len(out) == 0 || i+1 == len(tokens) {
				break
			}
			left, right := out[len(out)-1], tokens[i+1]
			if plainScalar(left) && plainScalar(right) && adjacent(left, t, right) {
				joined := token.New(left.Value+":"+right.Value, left.Origin+":"+right.Origin, left.Position)
				joined.Type = token.StringType
				joined.Prev, joined.Next = left.Prev, right.Next
				if joined.Prev != nil {
					joined.Prev.Next = joined
				}
				if joined.Next != nil {
					joined.Next.Prev = joined
				}
				out[len(out)-1] = joined
				i++
				continue
			}
		}
		out = append(out, t)
	}
	return out
}

func plainScalar(t *token.Token) bool {
	switch t.Type {
	case token.StringType, token.IntegerType, token.FloatType, token.BoolType, token.NullType, token.ImplicitNullType,
		token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType, token.InfinityType, token.NanType:
		return true
	}
	return false
}

func adjacent(left, colon, right *token.Token) bool {
	return left.Position.Line == right.Position.Line && left.Position.Column+len([]rune(left.Value)) == colon.Position.Column &&
		colon.Position.Column+1 == right.Position.Column
}
