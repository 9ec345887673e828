# ROS 2 as pip wheels exports the include folders of the machine that built it.
#
# The targets <package>__rosidl_generator_py of the wheels name /opt/python/cp3XX-cp3XX/include/..., which exists on the build machine only, and CMake
# refuses to generate when an imported target names a folder that is not there. The right Python and numpy headers reach our targets by find_package,
# so the foreign folders are dropped. On any other ROS 2 (apt, source) no target names one, and nothing changes.

function(cmdfusion_drop_foreign_python_includes)
  get_property(targets DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders MATCHES "/opt/python/cp")
      list(FILTER folders EXCLUDE REGEX "^/opt/python/cp")
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
    endif()
  endforeach()
endfunction()

# The targets appear while find_package runs, so look when the whole CMakeLists.txt has been read. Humble's Ubuntu 22.04 has CMake 3.22.
cmake_language(DEFER CALL cmdfusion_drop_foreign_python_includes)
