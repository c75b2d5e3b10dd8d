#include "check.h"
#include "shape.h"

int main(void)
{
    shape2_t shape;

    CHECK(shape2_circle(&shape, 1) == 0);
    CHECK(NEAR(shape2_area(&shape), 3.14159265));
    CHECK(NEAR(shape2_perimeter(&shape), 6.28318531));
    CHECK(shape2_rect(&shape, 2, 3) == 0);
    CHECK(NEAR(shape2_area(&shape), 6));
    CHECK(shape2_triangle(&shape, 3, 4, 5) == 0);
    CHECK(NEAR(shape2_area(&shape), 6));
    CHECK(NEAR(shape2_perimeter(&shape), 12));

    CHECK(shape2_circle(&shape, 0) == -1);
    CHECK(shape2_rect(&shape, -1, 2) == -1);
    CHECK(shape2_triangle(&shape, 1, 2, 3) == -1);
    puts("test_measure: ok");
    return 0;
}
