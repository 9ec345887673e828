// Walks through the entropy-coded data of a JPEG file without making a picture of it, and says
// whether a decoder would have to guess. OpenCV shows what it makes of damaged data and says so on
// stderr alone. ITU-T T.81; baseline and extended sequential files with Huffman codes, which is
// what cameras send; others pass unjudged.

#include <cstdint>
#include <cstring>

namespace {

const int FAST = 9;  // bits looked up at once; nearly all codes are that short

struct Code {  // a Huffman table by length of code: T.81, F.2.2.3
    int32_t largest[17];
    int32_t offset[17];
    uint8_t symbols[256];
    uint16_t fast[1 << FAST];  // length << 8 | symbol, 0 for longer codes
    bool known;
};

struct Component {
    int id, h, v, dc, ac;
};

struct Bits {  // the bits between two markers, a stuffed zero after 0xFF skipped; zeros after them
    const uint8_t* at;
    const uint8_t* end;
    uint64_t held;
    int count, made_up;  // bits in `held`, and how many of them are zeros that are not there

    void fill() {
        while (count <= 56) {
            if (at >= end || (at[0] == 0xFF && (at + 1 >= end || at[1] != 0))) {
                held <<= 8;
                made_up += 8;
            } else {
                held = held << 8 | at[0];
                at += at[0] == 0xFF ? 2 : 1;
            }
            count += 8;
        }
    }
    uint32_t peek(int number) const {
        return (uint32_t)(held >> (count - number)) & ((1u << number) - 1);
    }
    bool over() const { return count < made_up; }
    // Only padding is left before the marker, of ones by the standard; some encoders write zeros.
    bool at_marker() {
        fill();
        return count - made_up >= 0 && count - made_up < 8;
    }
    void restart_at(const uint8_t* place) {
        at = place;
        held = 0;
        count = made_up = 0;
    }
};

int symbol(Bits& bits, const Code& code) {  // needs 16 bits held
    const uint16_t fast = code.fast[bits.peek(FAST)];
    if (fast) {
        bits.count -= fast >> 8;
        return fast & 255;
    }
    for (int length = FAST + 1; length <= 16; ++length) {
        const int32_t value = (int32_t)bits.peek(length);
        if (value <= code.largest[length]) {
            bits.count -= length;
            return code.symbols[(value + code.offset[length]) & 255];
        }
    }
    return -1;  // no such code
}

bool block(Bits& bits, const Code& dc, const Code& ac) {
    bits.fill();
    const int size = symbol(bits, dc);
    if (size < 0 || size > 15) return false;
    bits.count -= size;
    for (int k = 1; k < 64; ++k) {
        if (bits.count < 32) bits.fill();
        const int both = symbol(bits, ac);
        if (both < 0) return false;
        const int run = both >> 4, bits_of = both & 15;
        if (!bits_of) {
            if (run != 15) {
                if (run) return false;  // only progressive files have longer ends of block
                break;
            }
            k += 15;
            if (k > 63) return false;
            continue;
        }
        k += run;
        if (k > 63) return false;  // beyond the block
        bits.count -= bits_of;
    }
    return !bits.over();
}

bool read_tables(const uint8_t* at, const uint8_t* end, Code (*codes)[4]) {
    while (at < end) {
        if (end - at < 17 || (at[0] >> 4) > 1 || (at[0] & 15) > 3) return false;
        Code& code = codes[at[0] >> 4][at[0] & 15];
        int total = 0, value = 0;
        for (int length = 1; length <= 16; ++length) {
            const int number = at[length];
            code.offset[length] = total - value;
            code.largest[length] = number ? value + number - 1 : -1;
            total += number;
            value = (value + number) << 1;
            if (total > 256) return false;
        }
        if (end - at < 17 + total) return false;
        std::memset(code.symbols, 0, sizeof code.symbols);
        std::memcpy(code.symbols, at + 17, total);
        std::memset(code.fast, 0, sizeof code.fast);
        for (int length = 1; length <= FAST; ++length) {
            const int number = at[length];
            const int first = code.largest[length] - number + 1;
            for (int i = 0; i < number; ++i) {
                const int from = (first + i) << (FAST - length);
                if (from + (1 << (FAST - length)) > 1 << FAST) return false;  // too many codes
                const int symbol = code.symbols[(first + i + code.offset[length]) & 255];
                for (int j = 0; j < 1 << (FAST - length); ++j)
                    code.fast[from + j] = (uint16_t)(length << 8 | symbol);
            }
        }
        code.known = true;
        at += 17 + total;
    }
    return true;
}

}  // namespace

extern "C" {

// 0: whole, or of a kind that is not judged; else where (byte + 1) a decoder would have to guess.
int64_t cmdfusion_jpeg_damage(const uint8_t* data, int64_t size) {
    const uint8_t *at = data + 2, *end = data + size;
    static const Code none = {};
    Code codes[2][4];
    for (auto& row : codes)
        for (Code& code : row) code = none;
    Component components[4] = {};
    int num_components = 0, width = 0, height = 0, most_h = 1, most_v = 1, restart = 0;
    bool scanned = false;
    const auto here = [&](const uint8_t* place) { return (int64_t)(place - data) + 1; };
    if (size < 4) return 1;
    while (true) {
        while (at + 1 < end && at[0] == 0xFF && at[1] == 0xFF) ++at;
        if (end - at < 2 || at[0] != 0xFF) return here(at);
        const int marker = at[1];
        if (marker == 0xD9) return scanned ? 0 : here(at);  // the end
        if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) {
            at += 2;
            continue;
        }
        if (end - at < 4) return here(at);
        const int length = at[2] << 8 | at[3];
        if (length < 2 || end - at < 2 + length) return here(at);
        const uint8_t *body = at + 4, *next = at + 2 + length;
        if (marker == 0xC4) {
            if (!read_tables(body, next, codes)) return here(at);
        } else if (marker == 0xDD) {
            if (length < 4) return here(at);
            restart = body[0] << 8 | body[1];
        } else if (marker == 0xC0 || marker == 0xC1) {
            if (length < 8) return here(at);
            if (body[0] != 8) return 0;  // 12 bits a sample: not judged
            height = body[1] << 8 | body[2];
            width = body[3] << 8 | body[4];
            num_components = body[5];
            if (!height || !width || num_components < 1 || num_components > 4 ||
                length < 8 + 3 * num_components)
                return here(at);
            for (int i = 0; i < num_components; ++i) {
                Component& one = components[i];
                one.id = body[6 + 3 * i];
                one.h = body[7 + 3 * i] >> 4;
                one.v = body[7 + 3 * i] & 15;
                if (one.h < 1 || one.h > 4 || one.v < 1 || one.v > 4) return here(at);
                if (one.h > most_h) most_h = one.h;
                if (one.v > most_v) most_v = one.v;
            }
        } else if (marker > 0xC1 && marker < 0xD0 && marker != 0xC8 && marker != 0xCC) {
            return 0;  // progressive, lossless or arithmetic: not judged
        } else if (marker == 0xDA) {
            if (!num_components || length < 6) return here(at);
            const int in_scan = body[0];
            if (in_scan < 1 || in_scan > 4 || length != 6 + 2 * in_scan) return here(at);
            Component* used[4];
            for (int i = 0; i < in_scan; ++i) {
                used[i] = nullptr;
                for (int j = 0; j < num_components; ++j)
                    if (components[j].id == body[1 + 2 * i]) used[i] = &components[j];
                if (!used[i]) return here(at);
                used[i]->dc = body[2 + 2 * i] >> 4;
                used[i]->ac = body[2 + 2 * i] & 15;
                if (used[i]->dc > 3 || used[i]->ac > 3 || !codes[0][used[i]->dc].known ||
                    !codes[1][used[i]->ac].known)
                    return here(at);
            }
            int64_t units;
            if (in_scan == 1) {  // one component alone: its own blocks, without the rest's padding
                const int64_t wide = 8 * most_h, high = 8 * most_v;
                const int64_t across = ((int64_t)width * used[0]->h + wide - 1) / wide;
                const int64_t down = ((int64_t)height * used[0]->v + high - 1) / high;
                units = across * down;
            } else {
                units = (int64_t)((width + 8 * most_h - 1) / (8 * most_h)) *
                        ((height + 8 * most_v - 1) / (8 * most_v));
            }
            Bits bits = {next, end, 0, 0, 0};
            int expected = 0;
            for (int64_t unit = 0; unit < units; ++unit) {
                if (restart && unit && unit % restart == 0) {
                    if (!bits.at_marker() || end - bits.at < 2 || bits.at[0] != 0xFF ||
                        bits.at[1] != 0xD0 + expected)
                        return here(bits.at);
                    bits.restart_at(bits.at + 2);
                    expected = (expected + 1) & 7;
                }
                for (int i = 0; i < in_scan; ++i) {
                    const int blocks = in_scan == 1 ? 1 : used[i]->h * used[i]->v;
                    for (int b = 0; b < blocks; ++b)
                        if (!block(bits, codes[0][used[i]->dc], codes[1][used[i]->ac]))
                            return here(bits.at);
                }
            }
            if (!bits.at_marker()) return here(bits.at);  // surplus data is damage too
            scanned = true;
            next = bits.at;
        }
        at = next;
    }
}
}
