ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -t 192.0.2.12:80 -s sed
ipvsadm -A -t [2001:db8:1::10]:80 -s ovf
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::17]:80 -i -w 1 --tun-type ipip
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -i -w 1 --tun-type ipip
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::14]:8080 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum
ipvsadm -a -t [2001:db8:1::10]:80 -r 198.51.100.13:80 -i -w 1 --tun-type ipip
