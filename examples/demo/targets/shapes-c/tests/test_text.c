#include "check.h"
#include "shape.h"

#include <string.h>

static void round_trip(const char *text)
{
    shape2_t shape;
    char buffer[SHAPE2_TEXT_MAX];

    CHECK(shape2_parse(&shape, text) == 0);
    CHECK(shape2_format(&shape, buffer, sizeof buffer) == (int)strlen(text));
    CHECK(strcmp(buffer, text) == 0);
}

int main(void)
{
    shape2_t shape;

    round_trip("circle 1.5");
    round_trip("rect 2 3");
    round_trip("triangle 3 4 5");
    CHECK(shape2_parse(&shape, "square 2") == -1);
    CHECK(shape2_parse(&shape, "rect 2") == -1);
    puts("test_text: ok");
    return 0;
}
